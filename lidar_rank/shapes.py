"""Shape annotations that cost nothing where jaxtyping is not installed: losses and evaluation do without it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int, Int8, Int32, Int64, Num, Shaped, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float32, Float64, Int, Int8, Int32, Int64, Num, Shaped, UInt8
    except ImportError:

        class _AnyShape:
            """Stands for ``Float[Tensor, "image candidate"]`` and means ``Tensor``."""

            def __class_getitem__(cls, item: tuple[type, str]) -> type:
                return item[0]

        Bool = Float = Float32 = Float64 = Int = Int8 = Int32 = Int64 = Num = Shaped = UInt8 = _AnyShape

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int8", "Int32", "Int64", "Num", "Shaped", "UInt8"]
