"""The ledger: every published number and testable claim of the paper beside ours."""
