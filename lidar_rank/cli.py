"""Commands: ``lidar-rank COMMAND --help`` teaches each."""
