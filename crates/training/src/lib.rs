//! Losses, views, schedules, the loop, checkpoints and sliding-window prediction.
