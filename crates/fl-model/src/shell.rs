//! Commands that are shown to be pasted.

/// A word as a POSIX shell takes it: quoted only where it must be.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_it_must_be() {
        let check = |word: &str, expected: &str| assert_eq!(shell_word(word), expected);
        check("/srv/edge-01", "/srv/edge-01");
        check("", "''");
        check("a home", "'a home'");
        check("it's", r"'it'\''s'");
        check("$HOME", "'$HOME'");
    }
}
