//! One buffer a thread that reads go through, so that a connection holds none while it waits.
use std::cell::RefCell;

/// How many bytes one read may take: four TLS records.
const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `read` with this thread's buffer, whose content is whatever the last user left. Must not be nested: a nested call
/// gets a buffer of its own, made for it.
pub fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut buffer) => {
            if buffer.is_empty() {
                buffer.resize(SIZE, 0);
            }
            read(&mut buffer)
        }
        Err(_) => read(&mut vec![0; SIZE]),
    })
}
