"""The providers: one file each, imported on first use."""


