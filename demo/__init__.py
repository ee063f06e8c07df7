"""The demo: a year of flights replayed through the deployed application, on one machine."""
