"""From raw values to arrays that a module takes."""
