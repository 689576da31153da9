"""From a sweep file to a running search on Ray: validate, launch, schedule, resume."""
