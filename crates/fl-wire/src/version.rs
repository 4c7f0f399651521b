//! Which versions of the protocol two sides have in common.

/// The version that this build writes.
pub const PROTOCOL: u32 = 1;

/// The versions that one side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest version.
    pub min: u32,
    /// Highest version.
    pub max: u32,
}

/// Two sides have no version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no common protocol version: this side speaks {} to {}, the other {} to {}; update the older side",
    ours.min, ours.max, theirs.min, theirs.max
)]
pub struct NoCommonVersion {
    /// This side's range.
    pub ours: VersionRange,
    /// The other side's range.
    pub theirs: VersionRange,
}

impl VersionRange {
    /// What this build speaks.
    pub const SPOKEN: Self = Self {
        min: 1,
        max: PROTOCOL,
    };

    /// Whether `version` is in the range.
    pub fn contains(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// The highest version that both ranges contain.
    pub fn common(self, theirs: Self) -> Result<u32, NoCommonVersion> {
        let highest = self.max.min(theirs.max);
        if self.contains(highest) && theirs.contains(highest) {
            return Ok(highest);
        }
        Err(NoCommonVersion { ours: self, theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        let range = |(min, max)| VersionRange { min, max };
        let check = |ours, theirs, expected: Option<u32>| {
            assert_eq!(range(ours).common(range(theirs)).ok(), expected);
            assert_eq!(range(theirs).common(range(ours)).ok(), expected);
        };
        check((1, 3), (2, 5), Some(3));
        check((1, 1), (1, 1), Some(1));
        check((1, 2), (3, 4), None);
        check((3, 1), (1, 3), None);
        let refused = range((1, 2)).common(range((3, 4))).unwrap_err().to_string();
        assert!(
            refused.contains("1 to 2") && refused.contains("3 to 4"),
            "{refused}"
        );
    }
}
