"""Beam wiring: each file is one step of a job, named for what it does.

What a step decides lives in `data`, as functions that know nothing of Beam; here they are joined to
collections of pages. A judging step has two outputs: the pages it keeps, and `REJECTED`, the pages
it turns down with their reasons. Nothing is counted in passing: counts are taken from outputs, so
that a repeated bundle counts once.
"""
