"""What the project is measured against: functions, deployed as they stand, and a reader."""
