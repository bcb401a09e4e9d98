"""What a run would need, before anything starts: parameters, memory, storage, time and cost, from the recipe alone."""
