use super::{Outcome, Rule, fires_if, lacks};
use crate::format;
use crate::recommend::case::{Case, FEWEST};

/// The default `prefetch_cluster` of 262144 bytes is 64 blocks of 4096: of hash blocks that follow each other at
/// most one in so many is not read ahead.
const READ_AHEAD: f64 = 1.0 / 64.0;

/// Verifications read hash blocks that nothing had begun to read.
pub const RULE: Rule = Rule {
    id: "prefetch-too-small",
    source: "verity_prefetch_io() (drivers/md/dm-verity-target.c) reads prefetch_cluster hash blocks at once, 64 by \
             default: more misses than 1 in 64, most of them with no read under way, are not prefetched",
    check,
};

fn check(case: &Case<'_>) -> Outcome {
    let Some(cache) = case.totals.and_then(|totals| totals.hash_cache) else {
        return lacks("what the cache of hash blocks did: --hash-cache");
    };
    if cache.lookups() < FEWEST {
        return lacks("too few hash blocks were looked up: watch longer, or while the load runs");
    }
    let share = cache.misses as f64 / cache.lookups() as f64;
    fires_if(share > READ_AHEAD && cache.misses > cache.awaited, || {
        format!(
            "{} of the hash blocks that were looked up were neither in the cache nor being read, {} were being read: \
             prefetching (/sys/module/dm_verity/parameters/prefetch_cluster) comes too late or reaches too little; \
             random reads of a cold cache look the same",
            format::percentage(Some(share)),
            cache.awaited,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{IN_BH, Made, fires, has_too_little, is_quiet};
    use super::*;
    use crate::snapshot::{Era, HashCache};

    fn cache(hits: u64, misses: u64, awaited: u64) -> Made {
        let mut made = Made::on("6.12.94", Era::Bh).option().ios(IN_BH);
        made.totals().hash_cache = Some(HashCache {
            hits,
            misses,
            awaited,
            ..HashCache::default()
        });
        made
    }

    #[test]
    fn fires_where_misses_were_not_prefetched() {
        let found = fires(&RULE, &cache(5_150, 290, 41));
        assert!(found.starts_with("5.29 %"), "{found}");
    }

    #[test]
    fn stays_quiet_where_they_were_or_there_are_few() {
        is_quiet(&RULE, &cache(5_150, 41, 290));
        is_quiet(&RULE, &cache(5_150, 60, 0));
    }

    #[test]
    fn needs_the_cache_to_be_watched() {
        let made = Made::on("6.12.94", Era::Bh).option().ios(IN_BH);
        assert!(has_too_little(&RULE, &made).contains("--hash-cache"));
        has_too_little(&RULE, &cache(80, 10, 0));
    }
}
