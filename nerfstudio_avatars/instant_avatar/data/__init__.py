"""Reading subjects (PeopleSnapshot, SURREAL, one of your own) and giving their rays to training."""
