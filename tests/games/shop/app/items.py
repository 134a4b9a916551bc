PRICES = {"iron": 3, "gold": 30}
