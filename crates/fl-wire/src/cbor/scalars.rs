//! Mirrors of numbers, text and containers.

use super::arrays::{Bytes, Integers, Typed, Wide};
use super::{Wire, list_of_mirrors};
use crate::error::WireError;

/// Values that serde writes as they are.
macro_rules! plain {
    ($($type:ty, $name:literal;)*) => {$(
        impl Wire for $type {
            const NAME: &'static str = $name;
            type Mirror = $type;

            fn mirror(&self) -> $type {
                self.clone()
            }

            fn from_mirror(mirror: $type) -> Result<Self, WireError> {
                Ok(mirror)
            }

            list_of_mirrors!();
        }
    )*};
}

plain! {
    bool, "a flag";
    u32, "a number";
    f64, "a number";
    String, "a text";
}

/// Numbers that serde writes as they are, and lists of them as typed arrays.
macro_rules! number {
    ($($type:ty, $list:ident;)*) => {$(
        impl Wire for $type {
            const NAME: &'static str = "a number";
            type Mirror = $type;
            type MirrorList = $list<$type>;

            fn mirror(&self) -> $type {
                *self
            }

            fn from_mirror(mirror: $type) -> Result<Self, WireError> {
                Ok(mirror)
            }

            fn mirror_list(list: &[Self]) -> Self::MirrorList {
                $list(list.to_vec())
            }

            fn from_mirror_list(list: Self::MirrorList) -> Result<Vec<Self>, WireError> {
                Ok(list.0)
            }
        }
    )*};
}

number! {
    u64, Typed;
    i16, Typed;
    i64, Typed;
}

/// Beyond CBOR's integers: as an element of a list of them, 16 bytes in little endian.
impl Wire for i128 {
    const NAME: &'static str = "a wide number";
    type Mirror = Wide;
    type MirrorList = Typed<i128>;

    fn mirror(&self) -> Wide {
        Wide(*self)
    }

    fn from_mirror(mirror: Wide) -> Result<Self, WireError> {
        Ok(mirror.0)
    }

    fn mirror_list(list: &[Self]) -> Self::MirrorList {
        Typed(list.to_vec())
    }

    fn from_mirror_list(list: Self::MirrorList) -> Result<Vec<Self>, WireError> {
        Ok(list.0)
    }
}

impl Wire for i32 {
    const NAME: &'static str = "a number";
    type Mirror = i32;
    type MirrorList = Integers;

    fn mirror(&self) -> i32 {
        *self
    }

    fn from_mirror(mirror: i32) -> Result<Self, WireError> {
        Ok(mirror)
    }

    fn mirror_list(list: &[Self]) -> Integers {
        Integers(list.to_vec())
    }

    fn from_mirror_list(list: Integers) -> Result<Vec<Self>, WireError> {
        Ok(list.0)
    }
}

/// A list of them is a byte string.
impl Wire for u8 {
    const NAME: &'static str = "a number";
    type Mirror = u8;
    type MirrorList = Bytes;

    fn mirror(&self) -> u8 {
        *self
    }

    fn from_mirror(mirror: u8) -> Result<Self, WireError> {
        Ok(mirror)
    }

    fn mirror_list(list: &[Self]) -> Bytes {
        Bytes(list.to_vec())
    }

    fn from_mirror_list(list: Bytes) -> Result<Vec<Self>, WireError> {
        Ok(list.0)
    }
}

/// A single number must be finite; arrays carry what the model holds.
impl Wire for f32 {
    const NAME: &'static str = "a number";
    type Mirror = f32;
    type MirrorList = Typed<f32>;

    fn mirror(&self) -> f32 {
        *self
    }

    fn from_mirror(mirror: f32) -> Result<Self, WireError> {
        if mirror.is_finite() {
            return Ok(mirror);
        }
        Err(WireError::value("a hyper-parameter", "it is not finite"))
    }

    fn mirror_list(list: &[Self]) -> Typed<f32> {
        Typed(list.to_vec())
    }

    fn from_mirror_list(list: Typed<f32>) -> Result<Vec<Self>, WireError> {
        Ok(list.0)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const NAME: &'static str = "a list";
    type Mirror = T::MirrorList;

    fn mirror(&self) -> T::MirrorList {
        T::mirror_list(self)
    }

    fn from_mirror(mirror: T::MirrorList) -> Result<Self, WireError> {
        T::from_mirror_list(mirror)
    }

    list_of_mirrors!();
}

impl<T: Wire> Wire for Option<T> {
    const NAME: &'static str = T::NAME;
    type Mirror = Option<T::Mirror>;

    fn mirror(&self) -> Self::Mirror {
        self.as_ref().map(T::mirror)
    }

    fn from_mirror(mirror: Self::Mirror) -> Result<Self, WireError> {
        mirror.map(T::from_mirror).transpose()
    }

    list_of_mirrors!();
}

impl<T: Wire> Wire for Box<T> {
    const NAME: &'static str = T::NAME;
    type Mirror = T::Mirror;

    fn mirror(&self) -> T::Mirror {
        T::mirror(self)
    }

    fn from_mirror(mirror: T::Mirror) -> Result<Self, WireError> {
        T::from_mirror(mirror).map(Box::new)
    }

    list_of_mirrors!();
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    const NAME: &'static str = "a pair";
    type Mirror = (A::Mirror, B::Mirror);

    fn mirror(&self) -> Self::Mirror {
        (self.0.mirror(), self.1.mirror())
    }

    fn from_mirror((a, b): Self::Mirror) -> Result<Self, WireError> {
        Ok((A::from_mirror(a)?, B::from_mirror(b)?))
    }

    list_of_mirrors!();
}
