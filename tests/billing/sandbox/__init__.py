"""Tests of the stand-in for Stripe. They need neither Django nor its database."""
