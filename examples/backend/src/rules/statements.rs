//! Statements for many rows at a time, and values as the database has them.

use crate::database::{DatabaseError, Row, Value};

/// Rows in a statement. Few sizes, so that statements stay prepared.
const SIZES: [usize; 3] = [64, 8, 1];

/// A place as the database has it.
pub(crate) fn number(place: u64) -> Value {
    i64::try_from(place).unwrap_or(i64::MAX).into()
}

/// Bytes of this length.
pub(crate) fn array<const N: usize>(row: &Row, column: usize) -> Result<[u8; N], DatabaseError> {
    row.bytes(column)?.try_into().map_err(|_| DatabaseError::Column { column })
}

/// All of it in as few chunks as the sizes of statements allow.
pub(super) fn chunks<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, more) = rest.split_at(size);
        rest = more;
        Some(chunk)
    })
}

/// `($1, $2, $3)`, counted from `first`.
pub(super) fn placeholders(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", names.join(", "))
}

/// `($1, $2), ($3, $4)`.
pub(super) fn rows_of(columns: usize, rows: usize) -> String {
    let rows: Vec<String> = (0..rows).map(|row| placeholders(1 + row * columns, columns)).collect();
    rows.join(", ")
}
