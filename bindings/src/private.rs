//! What holds something private prints as little in the other languages as it does here: an app that logs it gives nobody away.

use std::fmt::{self, Display, Formatter};

use crate::radio::{Advertisement, ScanResult};
use crate::transport::{HttpRequest, HttpResponse};
use crate::waitlist::{SignUpForm, SignUpPapers};

macro_rules! display_as_debug {
    ($($name:ty),*) => {
        $(impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                write!(f, "{self:?}")
            }
        })*
    };
}

display_as_debug!(Advertisement, ScanResult, HttpRequest, HttpResponse, SignUpForm, SignUpPapers);
