"""How is a sweep, seen from another terminal or machine?"""
