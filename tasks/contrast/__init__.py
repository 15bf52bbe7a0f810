"""What the label stage does: replies of the unsteered model, and the contrasts that come of them."""
