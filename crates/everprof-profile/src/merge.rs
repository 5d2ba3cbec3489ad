//! Merge: several profiles of one kind as one.
//!
//! Context: cold.
//! Invariant: the values of the result are the sums of those of its parts.

use crate::import::Importer;
use crate::{Error, Profile};

impl Profile {
    /// Adds up profiles of one kind: of several processes, or of several times.
    ///
    /// Mappings of one file are joined even when they were loaded at different addresses.
    /// The result covers the sum of the durations and bears the earliest time, the largest
    /// period and every comment once.
    ///
    /// # Errors
    ///
    /// [`Error::is_mismatch`] when the sample types or the period types differ, or when
    /// there is nothing to merge; [`Error::is_limit`] above 4 GiB of stacks and names.
    pub fn merge(profiles: &[&Profile]) -> Result<Profile, Error> {
        let Some((first, others)) = profiles.split_first() else {
            return Err(Error::mismatch(
                "nothing to merge, expected one profile or more",
            ));
        };
        for (n, other) in others.iter().enumerate() {
            first.must_be_like(other, "the first profile", &format!("number {}", n + 2))?;
        }
        let bytes: u64 = profiles.iter().map(|profile| profile.pool_bytes()).sum();
        if bytes > u32::MAX.into() {
            return Err(Error::limit(format!(
                "the {} profiles have {bytes} bytes of stacks and names, more than 4 GiB; merge \
                 fewer of them",
                profiles.len(),
            )));
        }
        let mut importer = Importer::new(first);
        importer.into.duration_nanos = 0;
        for profile in profiles {
            let mut source = importer.source(profile);
            for sample in profile.samples() {
                importer.copy(&mut source, &sample, sample.values());
            }
            let into = &mut importer.into;
            into.duration_nanos = into.duration_nanos.saturating_add(profile.duration_nanos);
            into.period = into.period.max(profile.period);
            if profile.time_nanos != 0 {
                into.time_nanos = match into.time_nanos {
                    0 => profile.time_nanos,
                    earliest => earliest.min(profile.time_nanos),
                };
            }
            for comment in profile.comments() {
                if !into.comments().any(|known| known == comment) {
                    into.add_comment(comment);
                }
            }
        }
        importer.into.aggregate();
        Ok(importer.into)
    }

    /// That values of `other` can be added to those of `self`.
    pub(crate) fn must_be_like(
        &self,
        other: &Profile,
        this_is: &str,
        that_is: &str,
    ) -> Result<(), Error> {
        let (ours, theirs) = (self.kinds(), other.kinds());
        if ours != theirs {
            return Err(Error::mismatch(format!(
                "{this_is} holds {ours}, {that_is} holds {theirs}; expected profiles of one kind"
            )));
        }
        if self.period_type() != other.period_type() {
            let of = |profile: &Profile| match profile.period_type() {
                Some(kind) => format!("`{}/{}`", kind.kind, kind.unit),
                None => "nothing".to_owned(),
            };
            return Err(Error::mismatch(format!(
                "the period of {this_is} counts {}, that of {that_is} {}; expected profiles of \
                 one kind",
                of(self),
                of(other),
            )));
        }
        Ok(())
    }

    fn kinds(&self) -> String {
        let kinds: Vec<_> = self
            .sample_types()
            .map(|kind| format!("{}/{}", kind.kind, kind.unit))
            .collect();
        format!("`{}`", kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Label, Mapping};

    /// A process that was loaded at `base`, with two functions and three samples.
    fn process(base: u64, scale: i64) -> Profile {
        let mut profile = Profile::new(&[("objects", "count"), ("space", "bytes")]);
        profile.set_period_type("space", "bytes");
        profile.period = scale;
        profile.time_nanos = 100 * scale;
        profile.duration_nanos = 10;
        profile.add_comment("made by a test");
        profile.add_comment(&format!("scale {scale}"));
        let mapping = Mapping {
            start: base,
            limit: base + 0x5000,
            offset: 0x1000,
            file: "/bin/app",
            build_id: "abcd",
            has_functions: true,
            ..Mapping::default()
        };
        let program = profile.add_mapping(mapping);
        let ids = ["app::leaf", "app::root_"].map(|name| {
            let address = base + 0x10 * name.len() as u64;
            profile.add_named(address, Some(program), [(name, "", 1)])
        });
        profile.push_sample(
            &ids,
            &[scale, 16 * scale],
            &[Label::number("bytes", 16, "bytes")],
        );
        profile.push_sample(
            &ids,
            &[scale, 32 * scale],
            &[Label::number("bytes", 32, "bytes")],
        );
        profile.push_sample(&ids[1..], &[0, scale], &[]);
        profile
    }

    #[test]
    fn processes_at_different_addresses_become_one() {
        let (a, b) = (process(0x40_0000, 1), process(0x7f00_0000_0000, 10));
        let both = Profile::merge(&[&a, &b]).unwrap();
        assert_eq!(both.mappings().len(), 1);
        assert_eq!(both.locations().len(), 2);
        assert_eq!(both.functions().len(), 2);
        assert_eq!(both.samples().len(), 3);
        assert_eq!(both.totals(), [22, 539]);
        assert_eq!(both.samples().next().unwrap().values(), [11, 176]);
        assert_eq!(
            (both.period, both.time_nanos, both.duration_nanos),
            (10, 100, 20)
        );
        let comments: Vec<_> = both.comments().collect();
        assert_eq!(comments, ["made by a test", "scale 1", "scale 10"]);
        let (_, mapping) = both.mappings().next().unwrap();
        assert_eq!(mapping, a.mappings().next().unwrap().1);
    }

    #[test]
    fn flags_hold_only_where_they_hold_for_all() {
        let (a, mut b) = (process(0, 1), process(0, 1));
        let (id, mapping) = b.mappings().next().unwrap();
        assert!(mapping.has_functions);
        b.set_mapping_flags(id, (false, false, false, false));
        let both = Profile::merge(&[&a, &b]).unwrap();
        assert!(!both.mappings().next().unwrap().1.has_functions);
    }

    #[test]
    fn files_of_different_build_ids_stay_apart() {
        let a = process(0, 1);
        let mut b = Profile::new(&[("objects", "count"), ("space", "bytes")]);
        b.set_period_type("space", "bytes");
        b.add_mapping(Mapping {
            build_id: "ef",
            ..a.mappings().next().unwrap().1
        });
        assert_eq!(Profile::merge(&[&a, &b]).unwrap().mappings().len(), 2);
    }

    #[test]
    fn mappings_of_one_process_are_never_joined() {
        let process = |base: u64| {
            let mut profile = Profile::new(&[("n", "count")]);
            for (n, file) in ["", "", "/lib/a.so", "/lib/a.so"].into_iter().enumerate() {
                let start = base + 0x1_0000 * n as u64;
                let mapping = Mapping {
                    start,
                    limit: start + 0x1000,
                    file,
                    ..Mapping::default()
                };
                let mapping = profile.add_mapping(mapping);
                let at = profile.add_location(start + 5, Some(mapping));
                profile.push_sample(&[at], &[1], &[]);
            }
            profile
        };
        let alone = Profile::merge(&[&process(0x10_0000)]).unwrap();
        assert_eq!((alone.mappings().len(), alone.samples().len()), (4, 4));
        let both = Profile::merge(&[&process(0x10_0000), &process(0x20_0000)]).unwrap();
        // Files fit together, and memory of no file cannot.
        assert_eq!((both.mappings().len(), both.samples().len()), (6, 6));
    }

    #[test]
    fn other_sample_types_are_refused_and_both_are_named() {
        let other = Profile::new(&[("contentions", "count"), ("delay", "nanoseconds")]);
        let error = Profile::merge(&[&process(0, 1), &other]).unwrap_err();
        assert!(error.is_mismatch());
        assert_eq!(
            error.to_string(),
            "the first profile holds `objects/count, space/bytes`, number 2 holds \
             `contentions/count, delay/nanoseconds`; expected profiles of one kind"
        );
        assert!(Profile::merge(&[]).unwrap_err().is_mismatch());
    }

    #[test]
    fn other_period_type_is_refused() {
        let mut other = process(0, 1);
        other.set_period_type("cpu", "nanoseconds");
        let error = Profile::merge(&[&process(0, 1), &other]).unwrap_err();
        assert!(error.to_string().contains("`space/bytes`"));
        assert!(error.to_string().contains("`cpu/nanoseconds`"));
    }
}
