"""From a source named in a sweep file to arrays that lanes share."""
