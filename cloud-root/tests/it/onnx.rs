//! ONNX files, field by field: also such as no exporter writes.

/// A linear model, `y = x·w`, three inputs and one output wide.
pub(crate) struct Linear {
    /// The operator.
    pub(crate) operator: &'static str,
    /// Shape of the weights.
    pub(crate) shape: [u64; 2],
    /// Where the weights lie, if not in the file.
    pub(crate) external: Option<&'static str>,
}

impl Default for Linear {
    fn default() -> Self {
        Self {
            operator: "MatMul",
            shape: [3, 1],
            external: None,
        }
    }
}

impl Linear {
    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let node = [
            text(1, "x"),
            text(1, "w"),
            text(2, "y"),
            text(3, "layer"),
            text(4, self.operator),
        ];
        let graph = [
            message(1, &node),
            text(2, "linear"),
            message(5, &self.weights()),
            message(11, &value("x", 3)),
            message(12, &value("y", 1)),
        ];
        let opset = [number(2, 17)];
        [number(1, 8), message(7, &graph), message(8, &opset)].concat()
    }

    fn weights(&self) -> Vec<Vec<u8>> {
        let mut tensor = vec![
            number(1, self.shape[0]),
            number(1, self.shape[1]),
            number(2, FLOAT),
            text(8, "w"),
        ];
        match self.external {
            Some(file) => {
                let place = [text(1, "location"), text(2, file)];
                tensor.push(message(13, &place));
                tensor.push(number(14, EXTERNAL));
            }
            None => {
                let count = self.shape.iter().product::<u64>() as usize;
                tensor.push(bytes(9, &0.5_f32.to_le_bytes().repeat(count)));
            }
        }
        tensor
    }
}

const FLOAT: u64 = 1;
const EXTERNAL: u64 = 1;

/// A batch of rows that wide.
fn value(name: &str, width: u64) -> Vec<Vec<u8>> {
    let dims = [
        message(1, &[text(2, "batch")]),
        message(1, &[number(1, width)]),
    ];
    let tensor = [number(1, FLOAT), message(2, &dims)];
    vec![text(1, name), message(2, &[message(1, &tensor)])]
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

fn message(field: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &fields.concat())
}
