//! Sealed, read-only memory: the only `unsafe` of this crate (docs/UNSAFE.md).
//!
//! A table is copied into a memfd that is sealed against writing and shrinking before anything of it
//! is hashed or validated. What was checked is therefore what workers read: nobody who truncates or
//! rewrites the file on disk can crash a worker (SIGBUS) or change a decision.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::Range;
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
        let fd = rustix::fs::memfd_create("strait-table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(io("create memory for"))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes).map_err(|error| OpenError::Io { doing: "copy", error })?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)
            .map_err(io("seal"))?;
        if bytes.is_empty() {
            return Err(OpenError::Io { doing: "map", error: io::ErrorKind::UnexpectedEof.into() });
        }
        // SAFETY: a fresh mapping at an address the kernel chooses, of a file that is sealed and exactly
        // `bytes.len()` long; no other mapping is affected.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes.len(), ProtFlags::READ, MapFlags::SHARED, &file, 0)
        }
        .map_err(io("map"))?;
        let start = NonNull::new(start.cast()).ok_or(OpenError::Io {
            doing: "map",
            error: io::ErrorKind::AddrNotAvailable.into(),
        })?;
        Ok(Mapping { start, length: bytes.len() })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of a live read-only mapping of `length` bytes of sealed memory,
        // which is unmapped only when `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
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
    /// Validates the bytes at `range` with bytecheck. They may not lie outside of the mapping.
    pub fn validate(mapping: Arc<Mapping>, range: Range<usize>, section: &'static str) -> Result<Self, OpenError> {
        let bytes = mapping.bytes().get(range.clone()).ok_or(OpenError::Extent { section })?;
        rkyv::access::<T, rancor::Error>(bytes)
            .map_err(|error| OpenError::Layout { section, detail: first_line(&error.to_string()) })?;
        Ok(Section { mapping, range, archived: PhantomData })
    }

    pub fn get(&self) -> &T {
        // SAFETY: `validate` is the only constructor: these very bytes passed bytecheck as a `T`, and
        // sealed memory cannot have changed since.
        unsafe { rkyv::access_unchecked::<T>(&self.mapping.bytes()[self.range.clone()]) }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
