//! Orders of examples that depend on nothing but a seed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Shuffles in place: Fisher and Yates, in Durstenfeld's form (1964). Written out here so that the
/// order that a seed gives never depends on a library's version.
pub(crate) fn shuffle(order: &mut [u32], random: &mut ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, below(last as u64 + 1, random) as usize);
    }
}

/// A uniform number below the bound: the high half of a 64×64-bit product. The bias is below
/// bound/2⁶⁴ (Lemire, "Fast Random Integer Generation in an Interval", 2019, section 3).
fn below(bound: u64, random: &mut ChaCha8Rng) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_gives_one_order_and_keeps_every_element() {
        let shuffled = |seed: u8| {
            let mut order: Vec<u32> = (0..100).collect();
            shuffle(&mut order, &mut ChaCha8Rng::from_seed([seed; 32]));
            order
        };
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), shuffled(2));
        let mut sorted = shuffled(3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_place_is_reached_equally_often() {
        let mut random = ChaCha8Rng::from_seed([7; 32]);
        let mut counts = [0u32; 5];
        for _ in 0..5000 {
            let mut order = [0, 1, 2, 3, 4];
            shuffle(&mut order, &mut random);
            counts[order.iter().position(|&element| element == 0).unwrap()] += 1;
        }
        // Five standard deviations of a binomial count around 1000.
        assert!(
            counts.iter().all(|count| (859..=1141).contains(count)),
            "{counts:?}"
        );
    }
}
