//! The sample LMS.
