"""Prefect flows: order, retries, schedules and artifacts of the stages."""
