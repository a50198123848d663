"""What all Beam jobs share: options and runners, work items and exchanges, the workspace."""
