"""Shape annotations. They are those of jaxtyping if it is loaded, for whoever checks them, and else cost nothing.

So losses and evaluation need no jaxtyping, and do not wait for its import.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.modules.get("jaxtyping"):
    from jaxtyping import Bool, Float, Float32, Float64, Int, Int8, Int32, Int64, Num, Shaped, UInt8
else:

    class _AnyShape:
        """Stands for ``Float[Tensor, "image candidate"]`` and means ``Tensor``."""

        def __class_getitem__(cls, item: tuple[type, str]) -> type:
            return item[0]

    Bool = Float = Float32 = Float64 = Int = Int8 = Int32 = Int64 = Num = Shaped = UInt8 = _AnyShape

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int8", "Int32", "Int64", "Num", "Shaped", "UInt8"]
