//! C functions by the number of their arguments, for programs that do not unwind.
//!
//! Context: any. Twin of `unwinding.rs`.

pub(in super::super) type Function1<A, R> = unsafe extern "C" fn(A) -> R;
pub(in super::super) type Function2<A, B, R> = unsafe extern "C" fn(A, B) -> R;
pub(in super::super) type Function3<A, B, C, R> = unsafe extern "C" fn(A, B, C) -> R;
pub(in super::super) type Function4<A, B, C, D, R> = unsafe extern "C" fn(A, B, C, D) -> R;
pub(in super::super) type Function5<A, B, C, D, E, R> = unsafe extern "C" fn(A, B, C, D, E) -> R;
pub(in super::super) type Function6<A, B, C, D, E, F, R> =
    unsafe extern "C" fn(A, B, C, D, E, F) -> R;
