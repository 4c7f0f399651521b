//! What a cell says.

use fl_model::EXAMPLE_WEIGHT_MAX;

/// Texts that stand for a missing value, besides nothing at all.
const MISSING: [&str; 2] = ["NA", "NaN"];

/// Whether a trimmed cell says that there is no value.
pub(super) fn is_missing(text: &str) -> bool {
    text.is_empty() || MISSING.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// A finite number, or none where it is missing; or what is wrong with it.
pub(super) fn number(text: &str) -> Result<Option<f64>, String> {
    if is_missing(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if (number as f32).is_finite() => Ok(Some(number)),
        Ok(number) if !number.is_nan() => {
            Err("is too large for a 32-bit number: use another unit".to_owned())
        }
        _ => Err(
            "is not a number: write one with a point, or leave the cell empty where it is missing"
                .to_owned(),
        ),
    }
}

/// How much a row counts; or what is wrong with it.
pub(super) fn weight(text: &str) -> Result<f32, String> {
    let weight = number(text).ok().flatten().map(|number| number as f32);
    let allowed = 0.0..=EXAMPLE_WEIGHT_MAX;
    weight.filter(|weight| allowed.contains(weight)).ok_or_else(|| {
        format!("is no weight: write a number from 0 to {EXAMPLE_WEIGHT_MAX:e}, 0 where a row is not to count")
    })
}

/// The position of the cell in a list, or none where it is missing; or what is wrong with it.
pub(super) fn position(text: &str, list: &[String]) -> Result<Option<usize>, String> {
    if let Some(index) = list.iter().position(|known| known == text) {
        return Ok(Some(index));
    }
    if is_missing(text) {
        return Ok(None);
    }
    Err(format!(
        "is not one of the job's values ({}): mend the cell, or add the value to the job",
        list.join(", ")
    ))
}

/// The hour (0 to 23) and the month (1 to 12) of `YYYY-MM-DDTHH:MM…` or `YYYY-MM-DD HH:MM…`, or none
/// where it is missing; or what is wrong with it.
pub(super) fn hour_and_month(text: &str) -> Result<Option<(u32, u32)>, String> {
    if is_missing(text) {
        return Ok(None);
    }
    read_time(text)
        .map(Some)
        .ok_or_else(|| "is not a time: write it as 2024-05-31T23:00 or 2024-05-31 23:00".to_owned())
}

/// Length of `YYYY-MM-DDTHH:MM`.
const MINUTES_BYTES: usize = 16;

fn read_time(text: &str) -> Option<(u32, u32)> {
    let (minutes, rest) = text.split_at_checked(MINUTES_BYTES)?;
    let (date, time) = minutes.split_once(['T', ' '])?;
    let field = |part: Option<&str>, digits: usize, from: u32, to: u32| {
        let part = part.filter(|part| part.len() == digits)?;
        let all_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let value: u32 = part.parse().ok().filter(|_| all_digits)?;
        (from..=to).contains(&value).then_some(value)
    };
    let mut date = date.split('-');
    field(date.next(), 4, 0, 9999)?;
    let month = field(date.next(), 2, 1, 12)?;
    field(date.next(), 2, 1, 31)?;
    let mut time = time.split(':');
    let hour = field(time.next(), 2, 0, 23)?;
    field(time.next(), 2, 0, 59)?;
    let clean = rest.is_empty() || rest.starts_with([':', 'Z', '+', '-']);
    clean.then_some((hour, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_absence() {
        for missing in ["", "NA", "na", "NaN", "nan"] {
            assert_eq!(number(missing), Ok(None), "{missing:?}");
        }
        assert_eq!(number("-1.5e2"), Ok(Some(-150.0)));
        for bad in ["x", "1,5", "1 2", "inf", "1e300", "--"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        for not_one in ["-nan", "+NaN", "1,5"] {
            let problem = number(not_one).unwrap_err();
            assert!(problem.contains("not a number"), "{not_one}: {problem}");
        }
    }

    #[test]
    fn times_are_read_strictly() {
        let check = |text: &str, expected: Option<(u32, u32)>| {
            let read = hour_and_month(text).ok().flatten();
            assert_eq!(read, expected, "{text:?}");
        };
        check("2013-03-01T07:00", Some((7, 3)));
        check("2013-12-31 23:59:30", Some((23, 12)));
        check("2013-12-31T00:00:00.5Z", Some((0, 12)));
        check("2013-12-31T00:00+08:00", Some((0, 12)));
        for bad in [
            "2013-13-01T00:00",
            "2013-03-01T24:00",
            "2013-03-01",
            "01.03.2013 07:00",
            "2013-3-01T007:00",
            "2013-03-01T07:00x",
            "2013-+3-01T07:00",
            "éééééééééééééééé",
        ] {
            assert!(hour_and_month(bad).is_err(), "{bad:?}");
        }
        assert_eq!(hour_and_month(""), Ok(None));
    }

    #[test]
    fn a_value_outside_of_the_list_is_told_from_a_missing_one() {
        let list = ["N".to_owned(), "NA".to_owned()];
        assert_eq!(position("NA", &list), Ok(Some(1)));
        assert_eq!(position("", &list), Ok(None));
        assert_eq!(position("NaN", &list), Ok(None));
        let problem = position("S", &list).unwrap_err();
        assert!(problem.contains("N, NA"), "{problem}");
    }
}
