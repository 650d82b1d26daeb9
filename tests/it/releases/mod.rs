mod course;
mod skew;
mod steps;
mod version;
