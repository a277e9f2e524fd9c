//! When customers arrive: an open model, in which arrivals do not wait for answers.

use std::time::Duration;

use fastrand::Rng;

/// The arrivals of a Poisson process of this rate: the pauses between them are exponentially distributed. `per_hour`
/// is not zero.
#[expect(clippy::float_arithmetic, reason = "the exponential distribution is one of real numbers")]
pub fn poisson(per_hour: u32, time: Duration, random: &mut Rng) -> Vec<Duration> {
    let mean = 3_600.0 / f64::from(per_hour);
    let mut arrivals = Vec::new();
    let mut at = 0.0;
    loop {
        // The logarithm of a number above 0.
        at -= mean * (1.0 - random.f64()).ln();
        let arrival = Duration::from_secs_f64(at);
        if arrival >= time {
            return arrivals;
        }
        arrivals.push(arrival);
    }
}

/// This number of arrivals, each at a random moment of the time.
pub fn crowd(customers: u32, time: Duration, random: &mut Rng) -> Vec<Duration> {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let mut arrivals: Vec<_> = (0..customers).map(|_| Duration::from_micros(random.u64(..micros))).collect();
    arrivals.sort();
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_arrivals_and_their_number_is_the_rate() {
        let arrivals = |seed| poisson(3_600, Duration::from_secs(10_000), &mut Rng::with_seed(seed));
        assert_eq!(arrivals(1), arrivals(1));
        assert_ne!(arrivals(1), arrivals(2));
        // The standard deviation of 10,000 arrivals is 100.
        assert!((9_600..10_400).contains(&arrivals(1).len()), "{}", arrivals(1).len());
        assert!(arrivals(1).is_sorted());
    }

    #[test]
    fn pauses_are_exponential_and_not_even() {
        let arrivals = poisson(3_600, Duration::from_secs(10_000), &mut Rng::with_seed(3));
        let pauses = arrivals.windows(2).map(|pair| pair[1] - pair[0]);
        let short = pauses.filter(|pause| *pause < Duration::from_millis(100)).count();
        // 1 - e^-0.1 of them are shorter than a tenth of the mean.
        assert!((850..1_060).contains(&short), "{short}");
    }

    #[test]
    fn a_crowd_comes_within_its_time() {
        let arrivals = crowd(2_000, Duration::from_secs(10), &mut Rng::with_seed(1));
        assert!(arrivals.len() == 2_000 && arrivals.is_sorted());
        assert!(arrivals.iter().all(|arrival| *arrival < Duration::from_secs(10)));
    }
}
