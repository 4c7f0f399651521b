//! Initialisers and constants: decoding from and encoding to `TensorProto`.

use crate::error::ModelError;
use crate::limits::Limits;
use crate::proto::TensorProto;
use crate::shape::{Dim, Element, Int, Shape, ValueType};

/// `TensorProto.data_location` of a tensor that lives in another file.
const EXTERNAL: i32 = 1;

/// Numbers of a constant, as far as this crate must read them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    F32(Vec<f32>),
    /// int64, or int32.
    I64(Vec<i64>),
    /// int64 of which some depend on the batch.
    Sizes(Vec<Int>),
    Bool(Vec<bool>),
    /// Of a type that is only ever passed through to the runtime.
    Opaque,
}

/// A constant tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) element: Element,
    pub(crate) dims: Vec<u64>,
    pub(crate) data: Data,
}

impl Tensor {
    /// Checks and reads a tensor of a foreign model.
    pub(crate) fn decode(proto: &TensorProto, limits: &Limits) -> Result<Self, ModelError> {
        decode(proto, limits).map_err(|reason| ModelError::Tensor {
            name: proto.name().to_owned(),
            reason,
        })
    }

    /// An int64 tensor of shape `dims`, of which some elements may depend on the batch.
    pub(crate) fn sizes(dims: Vec<u64>, sizes: Vec<Int>) -> Self {
        let fixed: Option<Vec<i64>> = sizes.iter().map(|size| size.fixed()).collect();
        Self {
            element: Element::I64,
            dims,
            data: fixed.map_or(Data::Sizes(sizes), Data::I64),
        }
    }

    /// A mask of shape `dims`.
    pub(crate) fn mask(dims: Vec<u64>, values: Vec<bool>) -> Self {
        Self {
            element: Element::Bool,
            dims,
            data: Data::Bool(values),
        }
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Its elements, where they are whole numbers.
    pub(crate) fn ints(&self) -> Option<Vec<Int>> {
        match &self.data {
            Data::I64(values) => Some(values.iter().copied().map(Int::Fixed).collect()),
            Data::Sizes(sizes) => Some(sizes.clone()),
            Data::F32(_) | Data::Bool(_) | Data::Opaque => None,
        }
    }

    /// Its elements, where they are float32.
    pub(crate) fn floats(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// Its type.
    pub(crate) fn value_type(&self) -> ValueType {
        let shape: Shape = self.dims.iter().map(|size| Dim::Fixed(*size)).collect();
        ValueType {
            element: self.element,
            shape,
        }
    }
}

fn decode(proto: &TensorProto, limits: &Limits) -> Result<Tensor, String> {
    if proto.data_location() as i32 == EXTERNAL || !proto.external_data.is_empty() {
        return Err(
            "its data lies in another file; save the model with its data inside \
                    (onnx.save with save_as_external_data=False)"
                .to_owned(),
        );
    }
    if proto.segment.is_some() {
        return Err("is stored in segments, which is not supported".to_owned());
    }
    let element = Element::from_proto(proto.data_type())
        .ok_or_else(|| format!("has the unsupported element type {}", proto.data_type()))?;
    if proto.dims.len() > limits.rank_max {
        return Err(format!(
            "has rank {}, more than {}",
            proto.dims.len(),
            limits.rank_max
        ));
    }
    let dims: Vec<u64> = proto
        .dims
        .iter()
        .map(|&dim| match u64::try_from(dim) {
            // Exporters write operands that are left out as empty lists.
            Ok(size) if size > 0 || proto.dims.len() == 1 => Ok(size),
            _ => Err(format!(
                "has a dimension of {dim}; sizes must be at least 1"
            )),
        })
        .collect::<Result<_, _>>()?;
    let count = dims
        .iter()
        .try_fold(1u64, |product, size| product.checked_mul(*size))
        .filter(|count| *count <= limits.tensor_elements_max)
        .ok_or_else(|| {
            format!(
                "its shape {dims:?} has more than {} elements",
                limits.tensor_elements_max
            )
        })?;
    let data = read(proto, element)?;
    let stored = match &data {
        Data::F32(values) => values.len(),
        Data::I64(values) => values.len(),
        Data::Sizes(sizes) => sizes.len(),
        Data::Bool(values) => values.len(),
        Data::Opaque => opaque_len(proto, element),
    };
    if stored as u64 != count {
        return Err(format!(
            "its shape {dims:?} needs {count} elements, it holds {stored}"
        ));
    }
    Ok(Tensor {
        element,
        dims,
        data,
    })
}

fn read(proto: &TensorProto, element: Element) -> Result<Data, String> {
    let raw = proto.raw_data.as_deref();
    if let Some(raw) = raw
        && raw.len() % element.bytes() != 0
    {
        return Err(format!(
            "its {} bytes are not a whole number of elements",
            raw.len()
        ));
    }
    Ok(match (element, raw) {
        (Element::F32, Some(raw)) => Data::F32(
            raw.as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        ),
        (Element::F32, None) => Data::F32(proto.float_data.clone()),
        (Element::I64, Some(raw)) => Data::I64(
            raw.as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| i64::from_le_bytes(*bytes))
                .collect(),
        ),
        (Element::I64, None) => Data::I64(proto.int64_data.clone()),
        (Element::I32, Some(raw)) => Data::I64(
            raw.as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| i64::from(i32::from_le_bytes(*bytes)))
                .collect(),
        ),
        (Element::I32, None) => {
            Data::I64(proto.int32_data.iter().copied().map(i64::from).collect())
        }
        (Element::Bool, Some(raw)) => Data::Bool(raw.iter().map(|byte| *byte != 0).collect()),
        (Element::Bool, None) => {
            Data::Bool(proto.int32_data.iter().map(|number| *number != 0).collect())
        }
        _ => Data::Opaque,
    })
}

/// Elements that a tensor of an opaque type holds.
fn opaque_len(proto: &TensorProto, element: Element) -> usize {
    match (&proto.raw_data, element) {
        (Some(raw), _) => raw.len() / element.bytes(),
        (None, Element::F64) => proto.double_data.len(),
        (None, _) => proto.int32_data.len(),
    }
}

/// A float tensor for a graph that we write.
pub(crate) fn encode_f32(name: &str, dims: &[u64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: Some(Element::F32.to_proto()),
        raw_data: Some(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        ),
        ..TensorProto::default()
    }
}

/// A one-dimensional integer tensor for a graph that we write.
pub(crate) fn encode_i64(name: &str, values: &[i64]) -> TensorProto {
    encode_ints(name, &[values.len() as u64], values)
}

/// An integer tensor for a graph that we write.
pub(crate) fn encode_ints(name: &str, dims: &[u64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: Some(Element::I64.to_proto()),
        raw_data: Some(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        ),
        ..TensorProto::default()
    }
}
