"""What each part of the method is worth: variants, their trainings, the table."""
