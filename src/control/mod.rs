//! The control loops: providers to the log, the log to the plan.
