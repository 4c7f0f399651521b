//! How a job takes its model: where the loss is, and which parameters travel.

/// What a job says of its model beside how it is trained. Patterns are names of initialisers in the model
/// file, in which `*` stands for any characters, none included, and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelOptions {
    /// Name of the output that the loss is taken of; the first where it is not said.
    pub output: Option<String>,
    /// Parameters that stay as the model file has them: they neither move nor travel, and cost no gradient.
    /// Running statistics that are frozen are what their node normalises by, as in evaluation.
    pub frozen: Vec<String>,
    /// Parameters that each device trains and keeps for itself, such as the head of a personal model
    /// (Arivazhagan et al. 2019) or the statistics of normalisation (FedBN, Li et al. 2021).
    pub local: Vec<String>,
}

impl ModelOptions {
    /// The first output, and all parameters travel.
    pub const PLAIN: Self = Self {
        output: None,
        frozen: Vec::new(),
        local: Vec::new(),
    };
}
