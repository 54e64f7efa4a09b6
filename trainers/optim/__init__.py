"""Optimizers, schedules and initial weights."""
