//! Sealed, read-only memory: the only `unsafe` of this crate (docs/UNSAFE.md).
//!
//! A table is copied into a memfd that is sealed against writing and shrinking before anything of it
//! is hashed or validated. What was checked is therefore what workers read: nobody who truncates or
//! rewrites the file on disk can crash a worker (SIGBUS) or change a decision.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use rkyv::Portable;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::file::OpenError;

/// Bytes nobody can change any more.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is sealed and mapped read-only, so shared references from any thread are sound.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Copies `bytes` into a sealed memfd and maps it.
    pub fn seal(bytes: &[u8]) -> Result<Mapping, OpenError> {
        let io = |doing| move |error: rustix::io::Errno| OpenError::Io { doing, error: error.into() };
        if bytes.is_empty() {
            return Err(OpenError::Io { doing: "map", error: io::ErrorKind::UnexpectedEof.into() });
        }
        let mut file = std::fs::File::from(memfd().map_err(io("create memory for"))?);
        // Written before it is sealed and mapped: running out of memory is an error here, not a signal later.
        file.write_all(bytes).map_err(|error| OpenError::Io { doing: "copy", error })?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )
        .map_err(io("seal"))?;
        // Private, because kernels before 6.7 refuse any shared mapping of a file sealed against writing. Nobody
        // writes, so nothing is copied: workers share the file's pages.
        //
        // SAFETY: a fresh mapping at an address the kernel chooses, of a file that is sealed and exactly
        // `bytes.len()` long; no other mapping is affected.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes.len(), ProtFlags::READ, MapFlags::PRIVATE, &file, 0)
        }
        .map_err(io("map"))?;
        let start = NonNull::new(start.cast())
            .ok_or(OpenError::Io { doing: "map", error: io::ErrorKind::AddrNotAvailable.into() })?;
        Ok(Mapping { start, length: bytes.len() })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of a live read-only mapping of `length` bytes of sealed memory,
        // which is unmapped only when `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

/// Memory with a descriptor. Hardened kernels demand that it says it will never be executed; kernels before 6.3 do
/// not know the word.
fn memfd() -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("strait-table", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("strait-table", flags),
        made => made,
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `seal` with this start and length, and nobody else unmaps it;
        // every reference into it borrows `self`. An error leaves it mapped, which is safe.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A part of a [`Mapping`] that was validated as an archived `T`.
#[derive(Debug)]
pub struct Section<T> {
    mapping: Arc<Mapping>,
    range: Range<usize>,
    archived: PhantomData<fn() -> T>,
}

impl<T> Clone for Section<T> {
    fn clone(&self) -> Self {
        Section { mapping: self.mapping.clone(), range: self.range.clone(), archived: PhantomData }
    }
}

impl<T> Section<T>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, rancor::Error>>,
{
    /// Validates the bytes at `range` with bytecheck. `range` lies inside the mapping; that it begins where a `T`
    /// may begin follows from pages and sections being aligned, and bytecheck looks at it once more.
    pub fn validate(
        mapping: Arc<Mapping>,
        range: Range<usize>,
        section: &'static str,
    ) -> Result<Self, OpenError> {
        rkyv::access::<T, rancor::Error>(&mapping.bytes()[range.clone()])
            .map_err(|error| OpenError::Layout { section, detail: detail(&error) })?;
        Ok(Section { mapping, range, archived: PhantomData })
    }

    /// Everything the section was opened from.
    pub fn whole(&self) -> &[u8] {
        self.mapping.bytes()
    }

    pub fn get(&self) -> &T {
        // SAFETY: `validate` is the only constructor: these very bytes passed bytecheck as a `T`, and
        // sealed memory cannot have changed since.
        unsafe { rkyv::access_unchecked::<T>(&self.mapping.bytes()[self.range.clone()]) }
    }
}

/// The first line of what rkyv says.
pub(crate) fn detail(error: &rancor::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
