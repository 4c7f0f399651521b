//! Rust source with everything blanked that is no code: comments, literals and, where asked,
//! tests. Lines keep their numbers and columns.

/// The source with comments and the contents of literals replaced by spaces.
pub(super) fn code_only(text: &str) -> String {
    let mut scanner = Scanner {
        rest: text,
        out: String::with_capacity(text.len()),
    };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.out
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let follows_name = self
            .out
            .ends_with(|last: char| last.is_alphanumeric() || last == '_');
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.blank(end);
        } else if rest.starts_with("/*") {
            self.blank(block_comment_bytes(rest));
        } else if rest.starts_with('"') {
            self.blank(string_bytes(rest));
        } else if !follows_name && let Some(length) = prefixed_string_bytes(rest) {
            self.blank(length);
        } else if let Some(length) = char_literal_bytes(rest) {
            self.blank(length);
        } else {
            let length = rest.chars().next().map_or(0, char::len_utf8);
            self.out.push_str(&rest[..length]);
            self.rest = &rest[length..];
        }
    }

    fn blank(&mut self, length: usize) {
        let (gone, rest) = self.rest.split_at(length);
        self.out
            .extend(gone.chars().map(|one| if one == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

fn block_comment_bytes(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

fn string_bytes(text: &str) -> usize {
    let mut escaped = false;
    for (at, one) in text.char_indices().skip(1) {
        match one {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`, `cr"…"`.
fn prefixed_string_bytes(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|after| after.trim_start_matches('#').starts_with('"'))
    })?;
    let after = &text[prefix.len()..];
    if !prefix.ends_with('r') {
        return after
            .starts_with('"')
            .then(|| prefix.len() + string_bytes(after));
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = prefix.len() + hashes + 1;
    let end = text[body..]
        .find(&closing)
        .map(|at| body + at + closing.len());
    Some(end.unwrap_or(text.len()))
}

/// `'x'`, `'\n'`, `'\u{1F600}'`; a lifetime is none.
fn char_literal_bytes(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut inner_chars = inner.char_indices();
    let (_, first) = inner_chars.next()?;
    if first == '\\' {
        let (after_escape, _) = inner_chars.nth(1)?;
        return inner[after_escape..]
            .find('\'')
            .map(|at| 1 + after_escape + at + 1);
    }
    let (end, closing) = inner_chars.next()?;
    (closing == '\'').then_some(1 + end + 1)
}

/// Code (see [`code_only`]) without the items under `#[cfg(test)]`, and the names of the modules
/// among them that lie in files of their own.
pub(super) fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let length = MARK.len() + item_bytes(&rest[at + MARK.len()..]);
        let item = &rest[at..at + length];
        if let Some(name) = external_module(item) {
            modules.push(name.to_owned());
        }
        out.extend(item.chars().map(|one| if one == '\n' { '\n' } else { ' ' }));
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    (out, modules)
}

/// Up to the end of the next item: its closing brace, or a semicolon outside all brackets.
fn item_bytes(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, one) in code.char_indices() {
        match one {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && one == '}' {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn external_module(item: &str) -> Option<&str> {
    let name = item.rsplit("mod ").next()?.strip_suffix(';')?.trim();
    let is_name = name.chars().all(|one| one.is_alphanumeric() || one == '_');
    (is_name && item.contains("mod ")).then_some(name)
}

/// A path that code names, such as `std::fs::File`, with the line it stands on. Groups are
/// unfolded: `use std::{fs, io::{self, Read}}` names `std::fs`, `std::io::self`, `std::io::Read`.
pub(super) fn named_paths(code: &str) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = read_path(&tokens, at, "", &mut paths).max(at + 1);
    }
    paths
}

type Token<'a> = (usize, &'a str);

/// Names, `::`, and single other characters, each with its line.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_part = |one: char| one.is_alphanumeric() || one == '_';
            let length = if is_part(first) {
                rest.find(|one| !is_part(one)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((index + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|one: char| one.is_alphabetic() || one == '_')
}

/// Reads one path from `at`, below `prefix`; gives the index of the first token behind it.
fn read_path(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &str,
    paths: &mut Vec<(usize, String)>,
) -> usize {
    let mut path = prefix.to_owned();
    let mut line = None;
    while let Some((here, token)) = tokens.get(at).copied() {
        if is_name(token) {
            line.get_or_insert(here);
            path.push_str(token);
            at += 1;
            if tokens.get(at).map(|next| next.1) != Some("::") {
                break;
            }
            path.push_str("::");
            at += 1;
        } else if token == "{" && path.ends_with("::") {
            return read_group(tokens, at + 1, &path, paths);
        } else {
            break;
        }
    }
    if let Some(line) = line
        && path.contains("::")
    {
        paths.push((line, path));
    }
    at
}

fn read_group(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &str,
    paths: &mut Vec<(usize, String)>,
) -> usize {
    while let Some((_, token)) = tokens.get(at).copied() {
        match token {
            "}" => return at + 1,
            // The new name is no path.
            "as" => at += 2,
            _ if is_name(token) => at = read_path(tokens, at, prefix, paths),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_what_is_no_code() {
        let check = |input: &str, expected: &str| {
            assert_eq!(code_only(input).trim_end(), expected, "{input:?}");
        };
        check("a // std::fs", "a");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"f("std::fs \" x", 1)"#, "f(              , 1)");
        check(r##"f(r#"a " b"#, 1)"##, "f(          , 1)");
        check(
            "x = 'a'; y: &'a str; '\\''; '\\u{41}'; z",
            "x =    ; y: &'a str;     ;         ; z",
        );
        check("var\"s\"", "var");
        check("\"open\nstd::fs", "");
    }

    #[test]
    fn drops_tests_and_names_their_files() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\n#[allow(x)]\nmod more {\n fn b() {}\n}\nfn c() {}\n";
        let (kept, modules) = without_tests(code);
        assert_eq!(modules, ["tests"]);
        assert!(kept.contains("fn a") && kept.contains("fn c") && !kept.contains("fn b"));
        assert_eq!(kept.lines().count(), code.lines().count());
    }

    #[test]
    fn unfolds_groups() {
        let check = |code: &str, expected: &[&str]| {
            let found: Vec<String> = named_paths(code)
                .into_iter()
                .map(|(_, path)| path)
                .collect();
            assert_eq!(found, expected, "{code}");
        };
        check("use std::fs::File;", &["std::fs::File"]);
        check(
            "use std::{fs as f, io::{self, Read}};",
            &["std::fs", "std::io::self", "std::io::Read"],
        );
        check("let now = Instant::now();", &["Instant::now"]);
        check("::std::env::var(x)", &["std::env::var"]);
        check("match a { b => c }", &[]);
    }
}
