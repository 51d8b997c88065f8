//! Label maps and references to metrics, tables and a report.
