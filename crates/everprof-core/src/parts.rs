//! Parts: what stands in an arena, all together.
//!
//! Context: sampled. Invariant: they are all whole before the arena is published,
//! so that whoever has a region of it may use any of them.
//!
//! Each recorder opens those that it writes; this file alone knows all of them.

use crate::arena::Region;
use crate::inuse::InUse;
use crate::labels::sets::Sets;
use crate::ledger::{Ledger, Name};
use crate::spawn::Pool;
use crate::waits;

/// Makes everything in a fresh arena. `None`: no room.
pub(crate) fn create(region: Region<'_>) -> Option<()> {
    region.found(|region| {
        for name in Name::ALL {
            Ledger::create(region, name)?;
        }
        Sets::create(region)?;
        Pool::create(region)?;
        waits::parts::create(region)?;
        // Last: of its slots few are touched.
        InUse::create(region).map(|_| ())
    })
}

/// Empties everything in a fork's child, whose parent's it is: nothing counted,
/// nobody waiting. Objects keep their places, as their frees must still find
/// their shift, and weigh nothing; label sets are facts, and stay.
pub(crate) fn disown(region: Region<'_>) {
    for name in Name::ALL {
        if let Some(ledger) = Ledger::open(region, name) {
            ledger.reset();
        }
    }
    if let Some(in_use) = InUse::open(region) {
        in_use.disown_all();
    }
    if let Some(pool) = Pool::open(region) {
        pool.reset();
    }
    waits::parts::disown(region);
}
