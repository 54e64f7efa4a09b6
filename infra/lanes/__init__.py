"""Lanes: slots of long-lived Ray Train runs that pull attempt after attempt from a coordinator."""
