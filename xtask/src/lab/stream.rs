//! A stream of a command in the guest, which ends with a mark and the exit code.

use std::io::{self, Read, Write};

/// Copies what the command prints until the mark, and returns the code that follows it; none when
/// the stream ends without one, because the machine died.
pub fn copy(mut from: impl Read, mut to: impl Write, mark: &[u8]) -> io::Result<Option<u8>> {
    let mut pending = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        pending.extend_from_slice(&buffer[..read]);
        let found = find(&pending, mark);
        let printed = found.unwrap_or(if read == 0 {
            pending.len()
        } else {
            safe(&pending, mark)
        });
        to.write_all(&pending[..printed])?;
        to.flush()?;
        pending.drain(..printed);
        if found.is_some()
            && let Some(code) = code_after(&pending[mark.len()..])
        {
            return Ok(Some(code));
        }
        if read == 0 {
            return Ok(None);
        }
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

/// How many bytes cannot be the beginning of a mark.
fn safe(bytes: &[u8], mark: &[u8]) -> usize {
    let starts = bytes.len().saturating_sub(mark.len() - 1)..bytes.len();
    starts
        .into_iter()
        .find(|&start| mark.starts_with(&bytes[start..]))
        .unwrap_or(bytes.len())
}

/// The decimal number before the line's end, once the line is complete.
fn code_after(bytes: &[u8]) -> Option<u8> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    str::from_utf8(&bytes[..end]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &[u8] = b"<<end>>";

    /// Gives out one byte at a time, so that every border falls between two reads.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((&first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            (buffer[0], self.0) = (first, rest);
            Ok(1)
        }
    }

    fn check(stream: &[u8], printed: &[u8], code: Option<u8>) {
        let mut out = Vec::new();
        assert_eq!(copy(stream, &mut out, MARK).unwrap(), code);
        assert_eq!(out, printed);
        let mut out = Vec::new();
        assert_eq!(copy(Slowly(stream), &mut out, MARK).unwrap(), code);
        assert_eq!(out, printed);
    }

    #[test]
    fn the_code_follows_the_mark() {
        check(b"hello\n<<end>>7\n", b"hello\n", Some(7));
        check(b"<<end>> 0\nlate output of a background job", b"", Some(0));
    }

    #[test]
    fn text_like_a_mark_is_text() {
        check(b"a <<end> b <<<<end>>255\n", b"a <<end> b <<", Some(255));
    }

    #[test]
    fn without_a_mark_the_machine_died() {
        check(b"hello <<en", b"hello <<en", None);
        check(b"hello <<end>>1", b"hello ", None);
    }
}
