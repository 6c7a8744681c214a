"""Turns a phone video into a subject to train on."""
