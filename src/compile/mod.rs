//! Documents to plan: pure, incremental, one object's mistake disables that object alone.
