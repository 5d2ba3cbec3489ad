//! Unzipping: as much of a compressed profile as may be had.
//!
//! Context: cold. Invariant: never more than [`Limits::max_bytes`] are decompressed, nor
//! [`Limits::max_ratio`] times what was given.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use crate::Error;

/// How much a compressed profile may grow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of the profile when decompressed. The decoded profile may take some ten
    /// times of that if it was made to. Default: 512 MiB, which is well above the profiles
    /// of large services. More than 768 MiB is taken as 768 MiB.
    pub max_bytes: u64,
    /// Most bytes that one compressed byte may become, once they are more than 16 MiB.
    /// Default: 500; profiles reach 20, zeros 1,030.
    pub max_ratio: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 512 << 20,
            max_ratio: 500,
        }
    }
}

pub(super) fn gunzip(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    let by_ratio = (bytes.len() as u64)
        .saturating_mul(limits.max_ratio)
        .max(RATIO_FREE_BYTES);
    let most = limits.max_bytes.min(by_ratio);
    let mut plain = Vec::new();
    // One byte more than allowed tells too much from just enough.
    let mut reader = MultiGzDecoder::new(bytes).take(most.saturating_add(1));
    if let Err(error) = reader.read_to_end(&mut plain) {
        let so_far = plain.len();
        return Err(match error.kind() {
            ErrorKind::UnexpectedEof => Error::malformed(format!(
                "the gzip data ends in the middle, after {so_far} decompressed bytes: the \
                 profile was cut off when it was written or copied, so fetch it again"
            )),
            _ => Error::malformed(format!(
                "the gzip data is damaged after {so_far} decompressed bytes, so fetch the \
                 profile again"
            ))
            .with_source(error),
        });
    }
    if plain.len() as u64 > most {
        return Err(if most == limits.max_bytes {
            too_large(limits)
        } else {
            Error::limit(format!(
                "{} bytes of gzip data become more than {most}, over {} times as much: no \
                 profile shrinks like that, so it was not decompressed further",
                bytes.len(),
                limits.max_ratio,
            ))
        });
    }
    Ok(plain)
}

pub(super) fn too_large(limits: &Limits) -> Error {
    Error::limit(format!(
        "the profile is larger than {} bytes, the most that was allowed; raise the limit if \
         you trust it",
        limits.max_bytes
    ))
}

/// Below this no ratio is too high: an almost empty profile is mostly one gzip header.
const RATIO_FREE_BYTES: u64 = 16 << 20;
