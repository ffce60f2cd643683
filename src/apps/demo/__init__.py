"""The demo application behind `fastcore up`."""
