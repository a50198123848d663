"""Altair charts of the report: functions from numbers to charts."""
