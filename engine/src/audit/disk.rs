//! How what the log is to hold gets onto the disk: each file written and synced.
//!
//! One submission to a ring of this thread's own: per file WRITE, linked with FSYNC (data only), so that the kernel goes on by
//! itself, with both files at once, and the thread is woken when all is done. What nobody waits for is written without either. Where the kernel refuses rings, or the gateway was told
//! to do without, plain system calls. A write that fell short breaks its link, and the whole is written again, over itself.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use io_uring::{IoUring, opcode, squeue, types};

/// Bytes for a file.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub file: &'a File,
    pub offset: u64,
    pub bytes: &'a [u8],
}

/// Entries and payloads.
pub const FILES_MAX: usize = 2;

pub enum Disk {
    Ring(Box<IoUring>),
    Plain,
}

impl Disk {
    /// `plain`: the gateway was told to do without rings.
    pub fn new(plain: bool) -> Disk {
        match plain {
            true => Disk::Plain,
            // Whoever is refused one here was refused it for the workers, too, and that was told.
            false => {
                IoUring::new(2 * FILES_MAX as u32).map_or(Disk::Plain, |ring| Disk::Ring(Box::new(ring)))
            }
        }
    }

    /// Returns when a kill of this process takes none of them: the system has them, and its disk at some time.
    pub fn write(writes: &[Write<'_>]) -> io::Result<()> {
        writes.iter().try_for_each(|write| write.file.write_all_at(write.bytes, write.offset))
    }

    /// Returns when the disk has all of them.
    pub fn commit(&mut self, writes: &[Write<'_>]) -> io::Result<()> {
        match self {
            Disk::Ring(ring) => match linked(ring, writes) {
                // Why it took no more, only another write can tell.
                Err(error) if error.kind() == io::ErrorKind::WriteZero => plainly(writes),
                outcome => outcome,
            },
            Disk::Plain => plainly(writes),
        }
    }
}

fn plainly(writes: &[Write<'_>]) -> io::Result<()> {
    Disk::write(writes)?;
    writes.iter().try_for_each(|write| write.file.sync_data())
}

fn linked(ring: &mut IoUring, writes: &[Write<'_>]) -> io::Result<()> {
    let wanted = 2 * writes.len();
    let mut entries = [(); 2 * FILES_MAX].map(|()| opcode::Nop::new().build());
    for (pair, write) in entries.chunks_exact_mut(2).zip(writes) {
        let length =
            u32::try_from(write.bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let fd = types::Fd(write.file.as_raw_fd());
        let put = opcode::Write::new(fd, write.bytes.as_ptr(), length)
            .offset(write.offset)
            .build()
            .user_data(u64::from(length))
            .flags(squeue::Flags::IO_LINK);
        let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(0);
        pair.clone_from_slice(&[put, sync]);
    }
    let Some(entries) = entries.get(..wanted) else {
        return Err(io::Error::other("more files at once than the audit log has"));
    };
    // SAFETY: files and bytes are borrowed until this function returns, and it does not return before the kernel is done with every
    // entry that was put in (`submit_and_wait` below). Either all of them are put in or none, so nothing stays behind in the ring.
    let pushed = unsafe { ring.submission().push_multiple(entries) };
    pushed.map_err(|_| io::Error::other("the ring of the audit log has no room"))?;
    let mut done = 0;
    let mut outcome = Ok(());
    while done < wanted {
        // Whatever interrupts the wait, what was submitted is waited for: its memory is lent to the kernel.
        if let Err(error) = ring.submit_and_wait(wanted - done)
            && error.kind() != io::ErrorKind::Interrupted
        {
            outcome = outcome.and(Err(error));
            std::thread::yield_now();
        }
        for entry in ring.completion() {
            done += 1;
            let went = match entry.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                short if (short as u64) < entry.user_data() => {
                    Err(io::Error::new(io::ErrorKind::WriteZero, "the disk took only a part"))
                }
                _ => Ok(()),
            };
            // The first is the reason; those behind it were only cancelled.
            outcome = outcome.and(went);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("strait-disk-{}-{name}", std::process::id()));
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        (path, file)
    }

    #[test]
    fn both_ways_write_where_they_are_told() {
        for plain in [false, true] {
            let mut disk = Disk::new(plain);
            let ((one_at, one), (other_at, other)) = (file("one"), file("other"));
            for round in 0..20u64 {
                let bytes = [round as u8; 5];
                let write = |file| Write { file, offset: round * 5, bytes: &bytes };
                disk.commit(&[write(&one), write(&other)]).unwrap();
            }
            for path in [one_at, other_at] {
                let expected: Vec<u8> = (0..20).flat_map(|round| [round; 5]).collect();
                assert_eq!(std::fs::read(&path).unwrap(), expected, "plain: {plain}");
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        for plain in [false, true] {
            let mut disk = Disk::new(plain);
            let (path, other) = file("beside-a-full-one");
            let write = |file| Write { file, offset: 0, bytes: b"x" };
            let error = disk.commit(&[write(&full), write(&other)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "plain: {plain}: {error}");
            // What is in the ring is done with: the next commit is its own.
            disk.commit(&[write(&other)]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"x", "plain: {plain}");
            std::fs::remove_file(path).unwrap();
        }
    }
}
