//! Mirrors of structures and enumerations, and the conversions between them and the domain.

/// The list side of [`super::Wire`] for everything that is not a number.
macro_rules! list_of_mirrors {
    () => {
        type MirrorList = Vec<Self::Mirror>;

        fn mirror_list(list: &[Self]) -> Self::MirrorList {
            list.iter().map($crate::cbor::Wire::mirror).collect()
        }

        fn from_mirror_list(list: Self::MirrorList) -> Result<Vec<Self>, $crate::error::WireError> {
            list.into_iter()
                .map($crate::cbor::Wire::from_mirror)
                .collect()
        }
    };
}

/// `mirror_struct! { Type, "name", Mirror { field: Type, … } }`, optionally with `check function`,
/// which is called with the value that was read.
macro_rules! mirror_struct {
    ($type:ty, $name:literal, $mirror:ident { $($field:ident: $of:ty),* $(,)? } $(check $check:path)?) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $mirror {
            $($field: <$of as $crate::cbor::Wire>::Mirror,)*
        }

        impl $crate::cbor::Wire for $type {
            const NAME: &'static str = $name;
            type Mirror = $mirror;

            fn mirror(&self) -> $mirror {
                $mirror {
                    $($field: $crate::cbor::Wire::mirror(&self.$field),)*
                }
            }

            fn from_mirror(mirror: $mirror) -> Result<Self, $crate::error::WireError> {
                let value = Self {
                    $($field: $crate::cbor::Wire::from_mirror(mirror.$field)?,)*
                };
                $($check(&value)?;)?
                Ok(value)
            }

            $crate::cbor::list_of_mirrors!();
        }
    };
}

/// `mirror_enum! { Type, "name", Mirror { Unit, One(Type), Many { field: Type } } }`.
macro_rules! mirror_enum {
    ($type:ty, $name:literal, $mirror:ident {
        $($variant:ident $(($of:ty))? $({ $($field:ident: $field_of:ty),* $(,)? })?),* $(,)?
    }) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) enum $mirror {
            $($variant
                $({ value: <$of as $crate::cbor::Wire>::Mirror })?
                $({ $($field: <$field_of as $crate::cbor::Wire>::Mirror),* })?
            ,)*
        }

        impl $crate::cbor::Wire for $type {
            const NAME: &'static str = $name;
            type Mirror = $mirror;

            fn mirror(&self) -> $mirror {
                match self {
                    $(
                        $crate::cbor::mirror_enum!(@pattern value $variant $(($of))? $({ $($field),* })?) =>
                            $mirror::$variant
                                $({ value: <$of as $crate::cbor::Wire>::mirror(value) })?
                                $({ $($field: $crate::cbor::Wire::mirror($field)),* })?,
                    )*
                }
            }

            fn from_mirror(mirror: $mirror) -> Result<Self, $crate::error::WireError> {
                Ok(match mirror {
                    $(
                        $crate::cbor::mirror_enum!(@mirror_pattern value $mirror $variant $(($of))? $({ $($field),* })?) =>
                            Self::$variant
                                $((<$of as $crate::cbor::Wire>::from_mirror(value)?))?
                                $({ $($field: $crate::cbor::Wire::from_mirror($field)?),* })?,
                    )*
                })
            }

            $crate::cbor::list_of_mirrors!();
        }
    };
    (@pattern $value:ident $variant:ident) => { Self::$variant };
    (@pattern $value:ident $variant:ident ($of:ty)) => { Self::$variant($value) };
    (@pattern $value:ident $variant:ident { $($field:ident),* }) => { Self::$variant { $($field),* } };
    (@mirror_pattern $value:ident $mirror:ident $variant:ident) => { $mirror::$variant };
    (@mirror_pattern $value:ident $mirror:ident $variant:ident ($of:ty)) => { $mirror::$variant { value: $value } };
    (@mirror_pattern $value:ident $mirror:ident $variant:ident { $($field:ident),* }) => { $mirror::$variant { $($field),* } };
}

pub(crate) use {list_of_mirrors, mirror_enum, mirror_struct};
